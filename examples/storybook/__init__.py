"""What the story needs beside its plot: a cast, a narrator, two scanners and some patience."""
