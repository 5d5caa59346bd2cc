"""Runs in the virtual machine: writes each metadata text of /in/NAME.vg to three disks, asks lvm
for its reports, and leaves both in /out/NAME. See README.md."""

import glob
import json
import os
import re
import subprocess

DISKS = [os.path.realpath("/run/d/d00%d" % i) for i in range(3)]
HEAD = 1 << 20  # label and metadata lie in the first MiB of a disk
REPORTS = {
    "vg": ["vgs", "-o", "vg_all"],
    "pv": ["pvs", "-o", "pv_all,vg_name"],
    "lv": ["lvs", "-a", "-o", "vg_name,vg_uuid,lv_all"],
    "seg": ["lvs", "-a", "--segments", "-o", "vg_name,vg_uuid,lv_name,seg_all"],
}


def lvm(disks, *args):
    accept = ",".join('"a|^%s$|"' % d for d in disks) + ',"r|.*|"'
    config = (
        "global{activation=0} backup{backup=0 archive=0} "
        "devices{use_devicesfile=0 obtain_device_list_from_udev=0 filter=[%s] global_filter=[%s]}" % (accept, accept)
    )
    p = subprocess.run(["lvm", args[0], "--config", config, *args[1:]], capture_output=True, text=True)
    # Of a fixed minor number lvm warns in the middle of its own JSON.
    return p, "\n".join(line for line in p.stdout.split("\n") if "Ignoring supplied" not in line)


def make(name, text):
    for disk in DISKS:
        with open(disk, "r+b") as f:
            f.write(bytes(HEAD))
    first = text.split("\n", 1)[0]
    uuids = re.findall(r'\bpv\d+ {\s*id = "([^"]+)"', text)
    for disk, uuid in zip(DISKS, uuids):
        lvm(DISKS, "pvcreate", "-y", "-ff", "--norestorefile", "--uuid", uuid, disk)
    p, _ = lvm(DISKS, "vgcfgrestore", "-y", "--force", "-f", "/in/%s.vg" % name, "v")
    if p.returncode:
        print(name, p.stderr)
        return
    disks = DISKS
    if first == "# without pv1":
        disks = [DISKS[0], DISKS[2]]
    if first == "# changed without pv1":
        lvm([DISKS[0], DISKS[2]], "vgchange", "--addtag", "changed", "v")
    out = "/out/" + name
    os.makedirs(out)
    for disk in disks:
        with open(disk, "rb") as f, open("%s/pv%d.img" % (out, DISKS.index(disk)), "wb") as copy:
            copy.write(f.read(HEAD))
    sections = []
    for section, args in REPORTS.items():
        shared = ["--shared"] if "sanlock" in text else []
        _, stdout = lvm(disks, *args, *shared, "--units", "b", "--nosuffix", "--reportformat", "json")
        rows = [{k: v for k, v in row.items() if v} for row in json.loads(stdout)["report"][0][section]]
        sections.append('"%s": [\n%s\n]' % (section, ",\n".join(json.dumps(r) for r in rows)))
    report = '{"report": [{\n%s\n}]}\n' % ",\n".join(sections)
    for i, disk in enumerate(DISKS):
        report = re.sub(re.escape(disk) + r"(?![a-z0-9])", "pv%d.img" % i, report)
    with open(out + "/report.json", "w") as f:
        f.write(report)


for path in sorted(glob.glob("/in/*.vg")):
    with open(path) as f:
        make(os.path.basename(path)[:-3], f.read())
