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
		key.ApiKey, key.MinVersion, key.MaxVersion = e.key, e.min, e.max
		resp.ApiKeys = append(resp.ApiKeys, key)
	}
	return resp
}

// startUnknownAPIVersions answers an ApiVersions request of a version that is not
// spoken, so nothing of it is read but the header's fixed part: in version 0, which
// every client reads, with the list, from which it takes a version to ask again.
func (a *API) startUnknownAPIVersions(ctx context.Context, frame []byte, _ server.Conn) (server.Finish, error) {
	h, err := wire.Peek(frame)
	if err != nil {
		return nil, err
	}
	h.Version = 0
	resp := a.apiVersions(ctx, nil).(*kmsg.ApiVersionsResponse)
	resp.ErrorCode = int16(wire.UnsupportedVersion)
	return func(context.Context) (server.Answer, error) { return answer(h, resp), nil }, nil
}
