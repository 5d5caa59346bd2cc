// Package testmd writes members of MD arrays into disks in memory, for tests. It shares no code with
// the reader.
package testmd

import (
	"encoding/binary"
	"math"
)

// Member is what a superblock says. Sizes are in sectors.
type Member struct {
	Version string // "0.90", "1.0", "1.1", "1.2"
	Big     bool   // of 0.90: big-endian

	Array    [16]byte
	Name     string
	Level    int
	Layout   uint32
	Chunk    int64
	Disks    int
	Size     int64 // used of each member
	Events   uint64
	Resync   uint64 // of 1.x; 0.90 has it dirty unless All
	Roles    []int  // by number of the disk; Spare, Faulty, Journal
	Features uint32

	Number     int
	UUID       [16]byte
	DataOffset int64 // of 1.x
	DataSize   int64 // of 1.x
	Recovery   uint64
	Bitmap     int32 // from the superblock
	Region     int64 // bytes; not 0 for a bitmap, without dirty regions, at Bitmap
	BadBlocks  []uint64
	BadAt      int32 // from the superblock

	NewLevel, Delta, NewOffset int32
	NewLayout                  uint32
	NewChunk                   int64
	Position                   uint64
}

// What Roles says of disks without a place.
const (
	Spare   = 0xffff
	Faulty  = 0xfffe
	Journal = 0xfffd
)

// All is a Resync of an array in order.
const All = math.MaxUint64

// SuperOffset is the byte at which a disk of size bytes has its superblock.
func SuperOffset(version string, size int64) int64 {
	switch version {
	case "1.1":
		return 0
	case "1.2":
		return 4096
	case "1.0":
		return (size/512 - 16) / 8 * 8 * 512
	}
	return size/65536*65536 - 65536
}

// Write writes the superblock into its place on the disk.
func (m Member) Write(disk []byte) {
	at := SuperOffset(m.Version, int64(len(disk)))
	b := disk[at:][:4096]
	clear(b)
	if m.Region != 0 {
		if m.Version == "0.90" {
			m.Bitmap = 8
		} else {
			m.Features |= 1
		}
		m.writeBitmap(disk[at+int64(m.Bitmap)*512:])
	}
	if m.Version == "0.90" {
		m.write090(b)
		return
	}
	le := binary.LittleEndian
	le.PutUint32(b, 0xa92b4efc)
	le.PutUint32(b[4:], 1)
	le.PutUint32(b[8:], m.Features)
	copy(b[16:], m.Array[:])
	copy(b[32:64], m.Name)
	le.PutUint32(b[72:], uint32(int32(m.Level)))
	le.PutUint32(b[76:], m.Layout)
	le.PutUint64(b[80:], uint64(m.Size))
	le.PutUint32(b[88:], uint32(m.Chunk))
	le.PutUint32(b[92:], uint32(m.Disks))
	le.PutUint32(b[96:], uint32(m.Bitmap))
	le.PutUint32(b[100:], uint32(m.NewLevel))
	le.PutUint64(b[104:], m.Position)
	le.PutUint32(b[112:], uint32(m.Delta))
	le.PutUint32(b[116:], m.NewLayout)
	le.PutUint32(b[120:], uint32(m.NewChunk))
	le.PutUint32(b[124:], uint32(m.NewOffset))
	le.PutUint64(b[128:], uint64(m.DataOffset))
	le.PutUint64(b[136:], uint64(m.DataSize))
	le.PutUint64(b[144:], uint64(at/512))
	le.PutUint64(b[152:], m.Recovery)
	le.PutUint32(b[160:], uint32(m.Number))
	copy(b[168:], m.UUID[:])
	le.PutUint64(b[200:], m.Events)
	le.PutUint64(b[208:], m.Resync)
	le.PutUint32(b[220:], uint32(len(m.Roles)))
	for i, r := range m.Roles {
		le.PutUint16(b[256+2*i:], uint16(r))
	}
	if m.BadBlocks != nil {
		le.PutUint16(b[186:], 8)
		le.PutUint32(b[188:], uint32(m.BadAt))
		list := disk[at+int64(m.BadAt)*512:][:4096]
		for i := range list {
			list[i] = 0xff
		}
		for i, e := range m.BadBlocks {
			le.PutUint64(list[8*i:], e)
		}
	}
	SumV1(b)
}

// writeBitmap writes a bitmap that was kept up to the start of b.
func (m Member) writeBitmap(b []byte) {
	le := binary.LittleEndian
	clear(b[:256])
	copy(b, "bitm")
	le.PutUint32(b[4:], 4)
	copy(b[8:], m.Array[:])
	if m.Version == "0.90" { // words, in the order of the machine
		for i := 0; i < 16; i += 4 {
			le.PutUint32(b[8+i:], binary.BigEndian.Uint32(m.Array[i:]))
		}
	}
	le.PutUint64(b[24:], m.Events)
	size := m.Size
	if m.Level == 10 { // two near copies
		size = m.Size / m.Chunk * int64(m.Disks) / 2 * m.Chunk
	}
	le.PutUint64(b[40:], uint64(size))
	le.PutUint32(b[52:], uint32(m.Region))
	le.PutUint32(b[56:], 5)
	clear(b[256 : 256+(size*512+m.Region*8-1)/(m.Region*8)])
}

// SumV1 makes the checksum of a superblock of version 1 right.
func SumV1(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[216:], 0)
	n := 256 + 2*int(le.Uint32(b[220:]))
	var sum uint64
	for i := 0; i < n; i += 4 {
		if i+4 > n {
			sum += uint64(le.Uint16(b[i:]))
			break
		}
		sum += uint64(le.Uint32(b[i:]))
	}
	le.PutUint32(b[216:], uint32(sum)+uint32(sum>>32))
}

// Order is the byte order of a 0.90 superblock.
func (m Member) Order() binary.ByteOrder {
	if m.Big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func (m Member) write090(b []byte) {
	order := m.Order()
	put := func(word int, v uint32) { order.PutUint32(b[4*word:], v) }
	put(0, 0xa92b4efc)
	put(2, 90)
	for i, word := range []int{5, 13, 14, 15} {
		put(word, binary.BigEndian.Uint32(m.Array[4*i:]))
	}
	put(7, uint32(int32(m.Level)))
	put(8, uint32(m.Size/2))
	put(9, uint32(len(m.Roles)))
	put(10, uint32(m.Disks))
	if m.Resync == All {
		put(33, 1)
	}
	low, high := 39, 40
	if m.Big {
		low, high = high, low
	}
	put(low, uint32(m.Events))
	put(high, uint32(m.Events>>32))
	if m.Region != 0 {
		put(33, order.Uint32(b[4*33:])|1<<8)
	}
	put(64, m.Layout)
	put(65, uint32(m.Chunk*512))
	disk := func(at, number int) {
		role, state := m.Roles[number], uint32(6)
		switch role {
		case Spare:
			role, state = number, 0
		case Faulty:
			role, state = number, 1
		}
		put(at, uint32(number))
		put(at+3, uint32(role))
		put(at+4, state)
	}
	for i := range m.Roles {
		disk(128+32*i, i)
	}
	disk(992, m.Number)
	Sum090(b, order)
}

// Sum090 makes the checksum of a superblock of version 0.90 right.
func Sum090(b []byte, order binary.ByteOrder) {
	order.PutUint32(b[4*38:], 0)
	var sum uint64
	for i := 0; i < 4096; i += 4 {
		sum += uint64(order.Uint32(b[i:]))
	}
	order.PutUint32(b[4*38:], uint32(sum)+uint32(sum>>32))
}

// Set is the disks of an array in good order, one for each role, in the order of their places. The array holds data;
// Set makes parity and copies of it. It knows levels 1, 0, -1 (linear), 4, 5 and 6 (left-symmetric), and 10 (two near
// copies). Each disk has size bytes.
func Set(m Member, size int64, data []byte) [][]byte {
	if m.Roles == nil {
		for i := range m.Disks {
			m.Roles = append(m.Roles, i)
		}
	}
	if m.Events == 0 {
		m.Events = 10
	}
	end := SuperOffset(m.Version, size) / 512
	if m.Version == "1.1" || m.Version == "1.2" {
		if m.DataOffset == 0 {
			m.DataOffset = 16
		}
		end = size / 512
	}
	if m.DataSize == 0 {
		m.DataSize = end - m.DataOffset
	}
	if m.Size == 0 && m.Level > 0 {
		m.Size = m.DataSize
		if m.Chunk > 0 {
			m.Size = m.DataSize / m.Chunk * m.Chunk
		}
	}
	disks := make([][]byte, m.Disks)
	for i := range disks {
		disks[i] = make([]byte, size)
	}
	base, chunk := m.DataOffset*512, m.Chunk*512
	for off := int64(0); off < int64(len(data)); {
		switch n := int64(m.Disks); m.Level {
		case 1:
			for _, d := range disks {
				copy(d[base:], data)
			}
			off = int64(len(data))
		case -1:
			part := m.DataSize * 512
			copy(disks[off/part][base:base+part], data[off:])
			off += part
		case 0:
			q := off / chunk
			copy(disks[q%n][base+q/n*chunk:][:chunk], data[off:])
			off += chunk
		case 4, 5, 6:
			parities := int64(1)
			if m.Level == 6 {
				parities = 2
			}
			q := off / chunk
			row, k := q/(n-parities), q%(n-parities)
			p := n - 1
			if m.Level != 4 {
				p -= row % n
			}
			at := base + row*chunk
			d := disks[(p+parities+k)%n][at:][:chunk]
			copy(d, data[off:])
			for j := range parities {
				parity := disks[(p+j)%n][at:][:chunk]
				for i := range d {
					parity[i] ^= times(d[i], j*k)
				}
			}
			off += chunk
		case 10:
			q := off / chunk
			for j := range int64(2) {
				i := 2*q + j
				copy(disks[i%n][base+i/n*chunk:][:chunk], data[off:])
			}
			off += chunk
		default:
			panic("testmd: level")
		}
	}
	for i, d := range disks {
		m.Number, m.UUID = i, [16]byte{1, byte(i)}
		m.Write(d)
	}
	return disks
}

// times is b multiplied by x to the k-th in GF(2^8), as RAID6 has it.
func times(b byte, k int64) byte {
	for range k {
		carry := b >> 7 * 0x1d
		b = b<<1 ^ carry
	}
	return b
}

// Change writes the superblock of a disk of an array anew.
func Change(disk []byte, version string, change func(b []byte)) {
	b := disk[SuperOffset(version, int64(len(disk))):][:4096]
	change(b)
	switch {
	case version != "0.90":
		SumV1(b)
	case binary.BigEndian.Uint32(b) == 0xa92b4efc:
		Sum090(b, binary.BigEndian)
	default:
		Sum090(b, binary.LittleEndian)
	}
}
