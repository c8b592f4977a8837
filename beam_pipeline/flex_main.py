"""What the launcher of a flex template runs; it takes the path of a file, and no module."""

from beam_pipeline.template import flex

if __name__ == "__main__":
    flex()
