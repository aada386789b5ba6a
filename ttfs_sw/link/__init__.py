"""The host's end of a board: frames, requests, the serial port, and a whole data set through them."""
