"""What a run would take elsewhere: hours, disk, traffic and money, from costs of one image."""
