"""Models on disk: our folders, Hugging Face's families and llama2.c, read and written."""
