package subject

import "encoding/binary"

// Partition is the partition, of n, that a key belongs to: the same that Kafka's
// Java client chooses, so that its producers and ours agree. n is at least 1.
func Partition(key []byte, n int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % n
}

// murmur2 is the hash of Kafka's default partitioner: 32-bit MurmurHash2, little
// endian, with Kafka's seed.
func murmur2(data []byte) uint32 {
	const (
		seed  = 0x9747b28c
		mix   = 0x5bd1e995
		shift = 24
	)
	h := seed ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * mix
		k ^= k >> shift
		h = h*mix ^ k*mix
	}
	for i := len(data) - 1; i >= 0; i-- { // up to three bytes are left
		h ^= uint32(data[i]) << (8 * i)
	}
	if len(data) > 0 {
		h *= mix
	}
	h ^= h >> 13
	h *= mix
	return h ^ h>>15
}
