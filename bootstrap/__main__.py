"""`python3 bootstrap demo|test`: make a private environment once, then run p2pfed or its tests in it."""

# No `from __future__ import annotations` and nothing newer than Python 3.6 in this file: it must still be
# able to say which Python is missing.
import sys

USAGE = """usage: python3 bootstrap demo [options of `p2pfed demo`]
       python3 bootstrap test [options of pytest]

demo   run a real network of 7 peers, 2 of them Byzantine, and check what it agreed on
test   run the whole test suite

Both first make a private environment in .venv-p2pfed (or the folder that P2PFED_ENV names)."""


def unsupported(version, platform, which):
    """Return the sentence that says why this Python or system won't do, or "" where it will."""
    if platform == "win32":
        return (
            "p2pfed runs on Linux and macOS: on Windows install WSL2 (`wsl --install` in PowerShell) "
            "and call this command inside it."
        )
    if version < (3, 11):
        found = [name for name in ("python3.13", "python3.12", "python3.11") if which(name)]
        remedy = f"call `{found[0]} bootstrap` instead" if found else "install Python 3.11 or later"
        return f"p2pfed needs Python 3.11 or later and this is {version[0]}.{version[1]}: {remedy}."
    return ""


def main(arguments):
    """Return the exit code; where all goes well the command replaces this process and nothing returns."""
    from shutil import which

    problem = unsupported(sys.version_info[:2], sys.platform, which)
    if problem:
        print(problem, file=sys.stderr)
        return 1
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    import environment

    if arguments[0] == "demo":
        return environment.run_demo(arguments[1:])
    if arguments[0] == "test":
        return environment.run_tests(arguments[1:])
    print(f"{arguments[0]!r} is no command of bootstrap.\n{USAGE}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
