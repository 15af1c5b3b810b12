"""Reports of finished analyses: the paper's figure 3 as a page, a picture and a document."""
