"""What tests share: made-up networks and models, small benches, patience."""
