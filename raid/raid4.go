package raid

// RAID4 keeps all parity on one leg. MD has it on the last, LVM2 on the first:
//
//	        RAID4, RAID5 ParityLast   RAID5 ParityFirst
//	row 0 | D0   D1   D2   P          P    D0   D1   D2
//	row 1 | D3   D4   D5   P          P    D3   D4   D5
//
// (docs/format/03-mapping-linear-striped-raid.md, sections 4.1 and 5.3;
// docs/format/04-below-lvm.md, section 4.5)
func raid4Row(n, r int) (row, error) { return raid5Row(ParityLast, n, r) }
