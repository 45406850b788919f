"""Ask an endpoint for N completions of each prompt; store them."""
