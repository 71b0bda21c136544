// Package uefitest makes files for tests that look to firmware/uefi as a kernel or a
// boot loader does. UEFI would start them, and what then happens nobody knows.
package uefitest

import "encoding/binary"

// places as in firmware/uefi; the header follows the 64 bytes that every file begins with
const (
	header   = 0x40
	optional = header + 24
	table    = optional + 160
	code     = 0x1000 // where the one section lies, in the file and in memory
)

// Program returns a program with body in it. It has as many bytes as body and 4096 more.
func Program(body []byte) []byte {
	file := make([]byte, code, code+len(body))
	file = append(file, body...)
	copy(file, "MZ")
	put32 := func(at int, v uint32) { binary.LittleEndian.PutUint32(file[at:], v) }
	put16 := func(at int, v uint16) { binary.LittleEndian.PutUint16(file[at:], v) }
	put32(0x3c, header)
	copy(file[header:], "PE\x00\x00")
	put16(header+4, 0xaa64)
	put16(header+6, 1)
	put16(header+20, table-optional)
	put16(optional, 0x20b)
	put32(optional+16, code)
	put32(optional+32, code)
	put32(optional+36, 512)
	put32(optional+56, code+uint32(len(body)))
	put32(optional+60, code)
	put16(optional+68, 10)
	copy(file[table:], ".text")
	for i, v := range []uint32{uint32(len(body)), code, uint32(len(body)), code} {
		put32(table+8+4*i, v)
	}
	return file
}
