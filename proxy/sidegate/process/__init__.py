"""A child's side of the service: fronts, workers, preloaders, and the runtime that they run."""
