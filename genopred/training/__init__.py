"""Networks that genopred trains, and what trains them."""
