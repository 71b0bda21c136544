package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// initProducerID gives an idempotent producer an id of its own, at epoch 0. One
// that has an id and asks again (KIP-360) gets another, as from Kafka, which
// raises the epoch of transactional producers only.
func (a *API) initProducerID(ctx context.Context, req *kmsg.InitProducerIDRequest) kmsg.Response {
	resp := kmsg.NewPtrInitProducerIDResponse()
	id, err := a.newProducer(ctx, req.TransactionalID)
	if err != nil {
		// The answer has no room for words, and producers ask again many times a second.
		if !errors.Is(err, errTransactional) && a.noIDs.CompareAndSwap(false, true) {
			a.log.Error("no ids for producers", "err", err)
		}
		resp.ErrorCode = int16(a.code(err))
		resp.ProducerID, resp.ProducerEpoch = -1, -1
		return resp
	}
	a.noIDs.Store(false)
	resp.ProducerID, resp.ProducerEpoch = id, 0
	return resp
}

func (a *API) newProducer(ctx context.Context, transactionalID *string) (int64, error) {
	if transactionalID != nil { // clients were told so, in words, when they looked for a coordinator
		return -1, errTransactional
	}
	return a.producers.Next(ctx)
}
