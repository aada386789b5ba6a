"""What differs between datapaths: their lanes, and how events come to them."""
