# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""What Scripts/mutate-messages does; the format of the faults is described there."""

import glob
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile


class Fault:
    def __init__(self, name, origin):
        self.name = name
        self.origin = origin
        self.by = "simulation"
        self.changes = []


def read(path):
    """The faults of one file."""
    faults = []
    file = None
    lines = iter(open(path).read().split("\n"))
    for line in lines:
        if line.startswith("== "):
            faults.append(Fault(line[3:].strip(), path))
        elif line.startswith("file "):
            file = line[5:].strip()
        elif line.startswith("by "):
            faults[-1].by = line[3:].strip()
        elif line.strip() == "--- from":
            parts = [[], []]
            index = 0
            for line in lines:
                if line.strip() == "--- to":
                    index = 1
                elif line.strip() == "--- end":
                    break
                else:
                    parts[index].append(line)
            faults[-1].changes.append((file, "\n".join(parts[0]), "\n".join(parts[1])))
        elif line.strip() and not line.startswith("#"):
            sys.exit(f"{path}: not understood: {line}")
    return faults


def run(command, tree, seconds):
    """`None` when it did not end in time; then nothing of it goes on, whatever process groups it made."""
    with subprocess.Popen(
        command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            end_session(process.pid)
            process.communicate()
            return None
    return subprocess.CompletedProcess(command, process.returncode, output)


def end_session(session):
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(name)) == session:
                os.kill(int(name), signal.SIGKILL)
        except ProcessLookupError:
            pass


def copy(here, tree):
    """What git would, and only what changed, so that only that is compiled again."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=here, stdout=subprocess.PIPE, check=True)
    for name in filter(None, listing.stdout.decode().split("\0")):
        source, target = os.path.join(here, name), os.path.join(tree, name)
        if name == "Package.swift" and os.environ.get("TERN_MUTATION_MANIFEST"):
            source = os.environ["TERN_MUTATION_MANIFEST"]
        if not os.path.isfile(source) or os.path.islink(source):
            continue
        content = open(source, "rb").read()
        if os.path.exists(target) and open(target, "rb").read() == content:
            continue
        os.makedirs(os.path.dirname(target) or tree, exist_ok=True)
        open(target, "wb").write(content)
        shutil.copymode(source, target)


def check(fault, tree, flags):
    """Whether the fault was found, and what was said."""
    for file, before, after in fault.changes:
        path = os.path.join(tree, file)
        text = open(path).read()
        if text.count(before) != 1:
            return False, f"it is in {file} {text.count(before)} times"
        open(path, "w").write(text.replace(before, after))
    kind, _, argument = fault.by.partition(" ")
    if kind == "simulation":
        build = run(["swift", "build", *flags, "--product", "tern-message-simulation"], tree, 3600)
        if build is None or build.returncode != 0:
            return False, "it does not compile\n" + (build.stdout[-3000:] if build else "")
        folder = run(["swift", "build", *flags, "--show-bin-path"], tree, 600).stdout.strip().split("\n")[-1]
        server, _, count = argument.rpartition(" ") if argument[-1:].isdigit() else (argument, "", "")
        count = count or os.environ.get("TERN_MUTATION_SCHEDULES", "1500")
        found = run([os.path.join(folder, "tern-message-simulation"), "1", count, server or "model"], tree, 1800)
    else:
        build = run(["swift", "build", *flags, "--build-tests"], tree, 3600)
        if build is None or build.returncode != 0:
            return False, "it does not compile\n" + (build.stdout[-3000:] if build else "")
        found = run(["swift", "test", *flags, "--skip-build", "--filter", argument], tree, 600)
    if found is None:
        return True, "it hangs"
    if found.returncode == 0:
        return False, "nothing fails"
    return True, next((line for line in found.stdout.split("\n") if "seed" in line or "failed" in line), "")[:110]


def main():
    here = os.getcwd()
    faults = [fault for path in sorted(glob.glob("Scripts/mutations/*.txt")) for fault in read(path)]
    wanted = sys.argv[1:]
    faults = [fault for fault in faults if not wanted or any(name in fault.name for name in wanted)]
    tree = os.environ.get("TERN_MUTATION_TREE") or os.path.join(tempfile.mkdtemp(prefix="tern-mutations-"), "tree")
    flags = shlex.split(os.environ.get("SWIFT_BUILD_FLAGS", ""))
    os.makedirs(tree, exist_ok=True)
    missed = 0
    copy(here, tree)
    build = run(["swift", "build", *flags, "--build-tests"], tree, 3600)
    if build is None or build.returncode != 0:
        sys.exit("without any fault it does not compile\n" + (build.stdout[-3000:] if build else ""))
    for fault in faults:
        copy(here, tree)
        isFound, words = check(fault, tree, flags)
        print(f"{'found ' if isFound else 'MISSED'}  {fault.name}  {words}", flush=True)
        missed += not isFound
    copy(here, tree)
    print(f"{len(faults) - missed} of {len(faults)} faults are found")
    sys.exit(1 if missed else 0)


main()
