"""The report: one page for the browser and one in Markdown, from one comparison and the logs of its runs."""
