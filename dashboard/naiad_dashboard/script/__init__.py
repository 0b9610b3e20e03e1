"""The file that Streamlit runs, in a folder of its own: beside a folder named `pages`
Streamlit would take the files in it for its own pages, and answer a link to one with an
empty page until somebody had opened the first page."""
