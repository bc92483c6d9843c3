"""Why a model does not learn, and how it learned."""
