"""Raw logs in, lake tables out: object storage, Delta tables, readers, jobs."""
