"""From a folder of images with image-level labels to a leaderboard submission."""
