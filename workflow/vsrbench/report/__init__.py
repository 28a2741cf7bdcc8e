"""Tables, figures and the HTML report of a study, and answers about them on the command line."""
