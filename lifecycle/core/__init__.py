"""The values, declarations and ports that every room shares; knows no other room and no heavy library."""
