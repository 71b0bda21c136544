package codec

import (
	"bytes"
	"sync"

	"github.com/klauspost/compress/gzip"

	"github.com/headwater/headwater/broker/record"
)

var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

func gunzip(src []byte, maxBytes int64) ([]byte, error) {
	r := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(r)
	if err := r.Reset(bytes.NewReader(src)); err != nil {
		return nil, corrupt(record.Gzip, err)
	}
	return readAll(record.Gzip, r, src, maxBytes)
}

var gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

func gzipped(src []byte) ([]byte, error) {
	w := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(w)
	return compressed(w, src)
}
