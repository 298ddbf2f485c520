"""Bodies, queries and responses as pydantic models, one module per noun. They validate requests and make OpenAPI."""
