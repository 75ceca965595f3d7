"""The way of a job: checked and prepared, then claimed, submitted and waited for."""
