"""Background work: status transitions at their moment, retention, and the RQ jobs that trigger them precisely."""
