# Thin pools with histories, whose metadata alone are kept: their data are a device of zeros. What was done to each is random, but for its
# seed. /out/NAME is the metadata device of a pool.
set -e
modprobe dm_thin_pool; modprobe dm_zero 2>/dev/null || true
cat > /tmp/do.py <<'P'
import os, random, sys, mmap, fcntl, struct, subprocess
C = 65536
buf = mmap.mmap(-1, 4096)
def dm(*a): subprocess.run(["dmsetup", *a], check=True, stdout=subprocess.DEVNULL)
def msg(*a): dm("message", "pool", "0", " ".join(map(str, a)))
class Dev:
    def __init__(s, id, chunks, origin=None):
        s.id, s.chunks, s.name = id, chunks, "t%d" % id
        if origin:
            dm("suspend", origin.name); msg("create_snap", id, origin.id); dm("resume", origin.name)
        else: msg("create_thin", id)
        s.up()
    def up(s):
        dm("create", s.name, "--noudevsync", "--table", "0 %d thin /dev/mapper/pool %d" % (s.chunks*128, s.id))
        s.fd = os.open("/dev/mapper/"+s.name, os.O_RDWR|os.O_DIRECT)
    def down(s):
        os.close(s.fd); dm("remove", "--noudevsync", s.name)
    def write(s, chunks, commit=500):
        for i, c in enumerate(chunks):
            os.pwrite(s.fd, buf, c*C)
            if i % commit == commit-1: os.fsync(s.fd)
        os.fsync(s.fd)
    def discard(s, c, n=1):
        fcntl.ioctl(s.fd, 0x1277, struct.pack("QQ", c*C, n*C))
    def delete(s):
        s.down(); msg("delete", s.id)
def some(r, n, k): return r.sample(range(n), k)
def plain(r):
    a, b = Dev(1, 8000), Dev(2, 5000)
    a.write(some(r, 8000, 3000)); b.write(range(2000)); a.write(some(r, 8000, 1500), 200)
    return [a, b]
def snaps(r):
    a = Dev(1, 9000); a.write(some(r, 9000, 5000)); d = [a]
    for i in range(2, 6):
        s = Dev(i, 9000, r.choice(d)); d.append(s)
        for x in d: x.write(some(r, 9000, 250), 100)
    d[2].delete(); del d[2]
    for x in d: x.write(some(r, 9000, 100), 50)
    return d
def deep(r):
    a = Dev(1, 120000); a.write(range(70000), 5000)
    b = Dev(2, 120000, a); a.write(some(r, 120000, 1200), 300); b.write(some(r, 120000, 1200), 300)
    for i in range(60): a.discard(r.randrange(119000), r.randrange(1, 60))
    os.fsync(a.fd); c = Dev(3, 6000); c.write(some(r, 6000, 1000), 100)
    return [a, b, c]
def discards(r):
    a, b = Dev(1, 6000), Dev(2, 6000)
    a.write(range(6000)); b.write(some(r, 6000, 2500))
    for i in range(40):
        for x in (a, b):
            for j in range(8): x.discard(r.randrange(5900), r.randrange(1, 90))
            x.write(some(r, 6000, 120), 40)
    return [a, b]
def many(r):
    d = {}
    for i in range(1, 301):
        d[i] = Dev(i*3, 200); d[i].write(some(r, 200, r.randrange(1, 40)), 100); d[i].down()
    for i in some(r, 300, 60): msg("delete", (i+1)*3)
    return []
def equal(r):
    d = [Dev(i, 2500) for i in (1, 2, 3)]
    for x in d: x.write(range(2500))
    s = Dev(4, 2500, d[0]); s.write(some(r, 2500, 300)); d[0].write(some(r, 2500, 300))
    return d+[s]
def held(r):
    a = Dev(1, 8000); a.write(some(r, 8000, 4000)); b = Dev(2, 8000, a); b.write(some(r, 8000, 300), 100)
    msg("reserve_metadata_snap")
    a.write(some(r, 8000, 1000), 100); b.write(some(r, 8000, 1000), 100)
    return [a, b]
def cycles(r):
    keep = Dev(1, 5000); keep.write(some(r, 5000, 2000))
    for i in range(12):
        x = Dev(7, 5000); x.write(some(r, 5000, 700), 100)
        s = Dev(8, 5000, x); s.write(some(r, 5000, 200), 100)
        keep.write(some(r, 5000, 100), 20)
        if i < 11: s.delete(); x.delete()
    return [keep, x, s]
name = sys.argv[1]
for d in globals()[name](random.Random(name)): d.down()
P
n=0
for name in plain snaps deep discards many equal held cycles; do
	disk=$(readlink -f "$(printf /run/d/d%03d $n)"); n=$((n + 1))
	dmsetup create data --noudevsync --table "0 $((200000 * 128)) zero"
	dmsetup create pool --noudevsync --table "0 $((200000 * 128)) thin-pool $disk /dev/mapper/data 128 0 1 skip_block_zeroing"
	date; echo "== $name"
	python3 /tmp/do.py $name
	dmsetup status pool
	dmsetup remove --noudevsync pool; dmsetup remove --noudevsync data
	thin_check $disk
	dd if=$disk of=/out/$name bs=1M conv=sparse status=none
done
