package dynamodb

import (
	"context"
	"fmt"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyrot/keyrot/internal/awsanswer"
)

// metered asks for what each call has consumed, and takes no answer that does
// not say it: otherwise a write is answered with an empty object, which anybody
// could send.
func metered(a API) API {
	type total = types.ReturnConsumedCapacity
	return API{
		DescribeTable: a.DescribeTable, DescribeTimeToLive: a.DescribeTimeToLive, DescribeContinuousBackups: a.DescribeContinuousBackups,
		GetItem: require(a.GetItem, func(in *ddb.GetItemInput, t total) { in.ReturnConsumedCapacity = t },
			func(out *ddb.GetItemOutput) *types.ConsumedCapacity { return out.ConsumedCapacity }),
		PutItem: require(a.PutItem, func(in *ddb.PutItemInput, t total) { in.ReturnConsumedCapacity = t },
			func(out *ddb.PutItemOutput) *types.ConsumedCapacity { return out.ConsumedCapacity }),
		UpdateItem: require(a.UpdateItem, func(in *ddb.UpdateItemInput, t total) { in.ReturnConsumedCapacity = t },
			func(out *ddb.UpdateItemOutput) *types.ConsumedCapacity { return out.ConsumedCapacity }),
		DeleteItem: require(a.DeleteItem, func(in *ddb.DeleteItemInput, t total) { in.ReturnConsumedCapacity = t },
			func(out *ddb.DeleteItemOutput) *types.ConsumedCapacity { return out.ConsumedCapacity }),
		Query: require(a.Query, func(in *ddb.QueryInput, t total) { in.ReturnConsumedCapacity = t },
			func(out *ddb.QueryOutput) *types.ConsumedCapacity { return out.ConsumedCapacity }),
	}
}

func require[In, Out any](
	call func(context.Context, *In, ...func(*ddb.Options)) (*Out, error),
	ask func(*In, types.ReturnConsumedCapacity), consumed func(*Out) *types.ConsumedCapacity,
) func(context.Context, *In, ...func(*ddb.Options)) (*Out, error) {
	return func(ctx context.Context, in *In, opts ...func(*ddb.Options)) (*Out, error) {
		ask(in, types.ReturnConsumedCapacityTotal)
		out, err := call(ctx, in, opts...)
		if err == nil && consumed(out) == nil {
			return nil, fmt.Errorf("%w (no consumed capacity in it)", awsanswer.ErrForeign)
		}
		return out, err
	}
}
