package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/server"
	"github.com/headwater/headwater/broker/wire"
)

// apiVersions tells what is in the table.
func (a *API) apiVersions(_ context.Context, _ *kmsg.ApiVersionsRequest) kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	for _, e := range a.table {
		key := kmsg.NewApiVersionsResponseApiKey()
		key.ApiKey, key.MinVersion, key.MaxVersion = e.key, announcedMin(e), e.max
		resp.ApiKeys = append(resp.ApiKeys, key)
	}
	return resp
}

// announcedMin is the lowest version of an API that is told. For Produce it is 0,
// although nothing below 3 is spoken: librdkafka compresses with gzip, snappy or
// LZ4 only for a broker that tells of version 0, and sends the highest all the
// same. Kafka 4 does so for the same reason (KAFKA-18659).
func announcedMin(e entry) int16 {
	if e.key == wire.Produce {
		return 0
	}
	return e.min
}

// startUnknownAPIVersions answers an ApiVersions request of a version that is not
// spoken, so nothing of it is read but the header's fixed part: in version 0, which
// every client reads, with the list, from which it takes a version to ask again.
func (a *API) startUnknownAPIVersions(ctx context.Context, frame []byte, _ server.Conn) (server.Request, error) {
	h, err := wire.Peek(frame)
	if err != nil {
		return nil, err
	}
	h.Version = 0
	resp := a.apiVersions(ctx, nil).(*kmsg.ApiVersionsResponse)
	resp.ErrorCode = int16(wire.UnsupportedVersion)
	return server.FinishFunc(func(context.Context) (server.Answer, error) { return answer(h, resp), nil }), nil
}
