"""The service's nouns, one module each, as the SDK offers them: `client.agreements`, `client.uploads`, ..."""
