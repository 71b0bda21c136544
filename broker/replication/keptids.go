package replication

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/headwater/headwater/broker/cluster"
)

// idBlock is producer ids from First on, without End.
type idBlock struct {
	First int64 `json:"first"`
	End   int64 `json:"end"`
}

func (b idBlock) valid() bool { return b.First >= 0 && b.First < b.End }

// idBlocks are the ids that were not handed out yet, those first that go first.
type idBlocks []idBlock

// maxIDBlocks bounds what is kept. A block of Kafka's has 1000 ids, and none is
// asked for while 500 are left.
const maxIDBlocks = 8

// keptIDs is the file.
type keptIDs struct {
	Version int      `json:"version"`
	Blocks  idBlocks `json:"blocks"`
	// and a checksum, cluster.Sealed's
}

// take splits off at most n ids. There must be some.
func (b idBlocks) take(n int64) (share idBlock, rest idBlocks) {
	first := b[0]
	share = idBlock{first.First, min(first.First+n, first.End)}
	if share.End == first.End {
		return share, slices.Clone(b[1:])
	}
	rest = slices.Clone(b)
	rest[0].First = share.End
	return share, rest
}

// with returns the blocks and another one, as far as there is room for it.
func (b idBlocks) with(another idBlock) idBlocks {
	if len(b) >= maxIDBlocks {
		return b
	}
	return append(slices.Clone(b), another)
}

func (b idBlocks) count() (n int64) {
	for _, block := range b {
		n += block.End - block.First
	}
	return n
}

func (b idBlocks) text() []byte {
	text, err := json.MarshalIndent(keptIDs{Version: 1, Blocks: b}, "", "  ")
	if err != nil {
		panic(err) // numbers alone
	}
	return cluster.Sealed(text)
}

// parseIDBlocks reads the file; without one there are none. It must be to the byte
// what was saved: an id that is not whole is another producer's.
func parseIDBlocks(text []byte) (idBlocks, error) {
	if text == nil {
		return nil, nil
	}
	var doc keptIDs
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	switch {
	case doc.Version != 1 || len(doc.Blocks) > maxIDBlocks:
		return nil, fmt.Errorf("version %d, %d blocks", doc.Version, len(doc.Blocks))
	case !bytes.Equal(text, doc.Blocks.text()):
		return nil, errors.New("its checksum does not hold")
	}
	for i, b := range doc.Blocks {
		if !b.valid() {
			return nil, fmt.Errorf("ids from %d to %d", b.First, b.End)
		}
		if slices.ContainsFunc(doc.Blocks[:i], func(o idBlock) bool { return o.First < b.End && b.First < o.End }) {
			return nil, fmt.Errorf("ids from %d to %d twice", b.First, b.End)
		}
	}
	return doc.Blocks, nil
}
