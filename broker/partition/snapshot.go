package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// errSnapshot is wrapped by every error about bytes that are no snapshot of
// producers.
var errSnapshot = errors.New("not a snapshot of producers")

// A snapshot is Kafka's, version 1. Where Kafka writes a producer's last batch,
// there are up to keptBatches entries of it here, the oldest first: a client may
// send each of them again after a restart. Kafka, when it reads them, keeps the
// last one, which is the one that it would have written.
const (
	snapshotVersion = 1

	atSnapshotVersion = 0 // int16
	atSnapshotCRC     = 2 // uint32, Castagnoli over all that follows
	atSnapshotCount   = 6 // int32
	snapshotHeaderLen = 10

	// where each field of an entry starts
	atEntryProducer    = 0  // int64
	atEntryEpoch       = 8  // int16
	atEntrySequence    = 10 // int32, the batch's last
	atEntryOffset      = 14 // int64, the batch's last; -1 when there is no batch
	atEntryDelta       = 22 // int32
	atEntryTimestamp   = 26 // int64
	atEntryCoordinator = 34 // int32, -1: no transactions
	atEntryTransaction = 38 // int64, -1: no transactions
	entryLen           = 46
)

// maxSnapshotBytes bounds a snapshot when it is read. It is room for 18,000
// producers; the settings allow 10,000.
const maxSnapshotBytes = 4 << 20

const snapshotExt = ".snapshot"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshotName is the file of what is known of all batches before nextOffset.
func snapshotName(nextOffset int64) string { return fmt.Sprintf("%020d%s", nextOffset, snapshotExt) }

// parseSnapshotName reads what snapshotName wrote.
func parseSnapshotName(name string) (nextOffset int64, ok bool) {
	digits, found := strings.CutSuffix(name, snapshotExt)
	if !found {
		return 0, false
	}
	nextOffset, err := strconv.ParseInt(digits, 10, 64)
	return nextOffset, err == nil && nextOffset >= 0 && snapshotName(nextOffset) == name
}

// encodeSnapshot writes histories, by producer id.
func encodeSnapshot(histories map[int64]*history) []byte {
	buf := make([]byte, snapshotHeaderLen, snapshotHeaderLen+len(histories)*entryLen)
	count := uint32(0)
	for _, id := range slices.Sorted(maps.Keys(histories)) {
		h := histories[id]
		marks := h.marks()
		if len(marks) == 0 {
			marks = []mark{{lastOffset: -1, lastSequence: -1, timestamp: -1}}
		}
		for _, m := range marks {
			buf = appendEntry(buf, id, h.epoch, m)
			count++
		}
	}
	binary.BigEndian.PutUint16(buf[atSnapshotVersion:], snapshotVersion)
	binary.BigEndian.PutUint32(buf[atSnapshotCount:], count)
	binary.BigEndian.PutUint32(buf[atSnapshotCRC:], crc32.Checksum(buf[atSnapshotCount:], castagnoli))
	return buf
}

func appendEntry(buf []byte, id int64, epoch int16, m mark) []byte {
	var e [entryLen]byte
	binary.BigEndian.PutUint64(e[atEntryProducer:], uint64(id))
	binary.BigEndian.PutUint16(e[atEntryEpoch:], uint16(epoch))
	binary.BigEndian.PutUint32(e[atEntrySequence:], uint32(m.lastSequence))
	binary.BigEndian.PutUint64(e[atEntryOffset:], uint64(m.lastOffset))
	binary.BigEndian.PutUint32(e[atEntryDelta:], uint32(m.offsetDelta))
	binary.BigEndian.PutUint64(e[atEntryTimestamp:], uint64(m.timestamp))
	binary.BigEndian.PutUint32(e[atEntryCoordinator:], 0xffffffff)
	binary.BigEndian.PutUint64(e[atEntryTransaction:], 0xffffffffffffffff)
	return append(buf, e[:]...)
}

// decodeSnapshot reads a snapshot of what lies before nextOffset, ours or Kafka's.
// Its errors wrap errSnapshot.
func decodeSnapshot(buf []byte, nextOffset int64) (map[int64]*history, error) {
	if len(buf) < snapshotHeaderLen {
		return nil, fmt.Errorf("%w: %d bytes", errSnapshot, len(buf))
	}
	if got := binary.BigEndian.Uint16(buf[atSnapshotVersion:]); got != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d", errSnapshot, got)
	}
	got, want := crc32.Checksum(buf[atSnapshotCount:], castagnoli), binary.BigEndian.Uint32(buf[atSnapshotCRC:])
	if got != want {
		return nil, fmt.Errorf("%w: checksum %08x, want %08x", errSnapshot, got, want)
	}
	count, entries := int64(binary.BigEndian.Uint32(buf[atSnapshotCount:])), buf[snapshotHeaderLen:]
	if count*entryLen != int64(len(entries)) {
		return nil, fmt.Errorf("%w: %d entries in %d bytes", errSnapshot, count, len(entries))
	}
	histories := map[int64]*history{}
	for ; len(entries) > 0; entries = entries[entryLen:] {
		if err := takeEntry(histories, entries[:entryLen], nextOffset); err != nil {
			return nil, err
		}
	}
	return histories, nil
}

func takeEntry(histories map[int64]*history, e []byte, nextOffset int64) error {
	id, epoch := int64(binary.BigEndian.Uint64(e[atEntryProducer:])), int16(binary.BigEndian.Uint16(e[atEntryEpoch:]))
	m := mark{
		lastOffset:   int64(binary.BigEndian.Uint64(e[atEntryOffset:])),
		timestamp:    int64(binary.BigEndian.Uint64(e[atEntryTimestamp:])),
		lastSequence: int32(binary.BigEndian.Uint32(e[atEntrySequence:])),
		offsetDelta:  int32(binary.BigEndian.Uint32(e[atEntryDelta:])),
	}
	h := histories[id]
	if h == nil {
		h = &history{epoch: epoch}
		histories[id] = h
	}
	if m.lastOffset < 0 { // only markers of transactions are left of it
		*h = history{epoch: epoch}
		return nil
	}
	if id < 0 || epoch < 0 || m.lastSequence < 0 || m.offsetDelta < 0 || m.baseOffset() < 0 || m.lastOffset >= nextOffset {
		return fmt.Errorf("%w: producer %d, epoch %d, %+v before offset %d", errSnapshot, id, epoch, m, nextOffset)
	}
	if last, ok := h.last(); ok && epoch == h.epoch && m.lastOffset <= last.lastOffset {
		return fmt.Errorf("%w: producer %d goes back from offset %d to %d", errSnapshot, id, last.lastOffset, m.lastOffset)
	}
	h.add(epoch, m)
	return nil
}
