"""Files of batch scoring: input cut into chunks, chunks turned into parts, parts published as one output."""
