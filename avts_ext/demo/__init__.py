"""The demonstration `avts demo`: from a generated world to a report that opens in a browser."""
