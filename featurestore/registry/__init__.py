"""What things mean: definitions, types, the catalog of revisions, plan, lineage."""
