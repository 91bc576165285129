"""The embedded data of the sample profile, made by seeded generators: a small village, its messages and its lessons."""
