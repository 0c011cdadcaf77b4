"""What is agreed: pure data, pure rules. Never sends, sleeps, reads a clock or touches a disk."""
