"""The command line: click commands, each imported only when it is called."""
