"""Which routes of an app are jobs, where their URLs lead, and which of them cannot be."""
