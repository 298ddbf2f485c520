"""A match day of up to a million clients, simulated: our rule of scaling side by side with the HPA's."""
