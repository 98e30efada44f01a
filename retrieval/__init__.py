"""What could be shown: two towers, candidate sources and nearest-neighbour indexes."""
