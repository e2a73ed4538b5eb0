"""The command ``consistency-tta``: Lightning's fit, validate, test and predict, and this project's own subcommands.

commands.py       all subcommands in one table; nothing is imported until a subcommand is known
command_line.py   from the first word to the subcommand
overview.py       what ``--help`` prints
mistakes.py       wrong words that can be refused, with the right ones, before anything is imported
config_files.py   the files after --config, where a recipe's name stands for its file
signature.py      options and description of an own subcommand, read from its source
quick_help.py     ``--help`` of an own subcommand, from its source
own_commands.py   runs an own subcommand
recipes.py        lists and copies recipes
completion.py     a script for a shell that completes subcommands and options
class_options.py  the options of arguments that are classes, read from source
training_options.py  --help of Lightning's, and wrong options below the model, data and trainer, from source
training_cli.py   runs Lightning's
changed_settings.py  what the configuration has otherwise than the checkpoint that a run goes on from
launcher.py       the number of processes, of which launcher and trainer must say the same
parser.py         the parser of both
parser_messages.py  its messages, each in one line
plugins.py        classes that need no full path
user_errors.py    errors in one line
"""

from consistency_tta.cli.command_line import main

__all__ = ["main"]
