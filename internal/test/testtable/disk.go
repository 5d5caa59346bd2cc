package testtable

// InGPT is a disk with content in its second partition.
func InGPT(content []byte) []byte {
	b := make([]byte, len(content)+4<<20)
	copy(b[2<<20:], content)
	GPT(b, 512,
		Part{Number: 1, First: 2048, Count: 2048, GUID: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"},
		Part{Number: 2, First: 4096, Count: int64(len(content)) / 512})
	return b
}

// InLogical is a disk with content in a logical partition, the first.
func InLogical(content []byte) []byte {
	b := make([]byte, len(content)+2<<20)
	copy(b[1<<20:], content)
	n := int64(len(b)) / 512
	MBR(b, Part{Number: 1, First: 64, Count: n - 64, Kind: 5})
	Logical(b, 512, 64, Part{First: 2048, Count: int64(len(content)) / 512, Kind: 0x8e})
	return b
}
