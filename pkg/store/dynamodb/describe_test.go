package dynamodb

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keyrot/keyrot/internal/hint"
)

// A table with replicas is refused: neither leases nor saves would exclude each
// other across regions.
func TestGlobalTablesAreRefused(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for name, c := range map[string]struct {
		table *types.TableDescription
		fail  error
		want  error
	}{
		"a table of one region":      {&types.TableDescription{}, nil, nil},
		"a table with a replica":     {&types.TableDescription{Replicas: []types.ReplicaDescription{{RegionName: aws.String("eu-west-1")}}}, nil, ErrGlobal},
		"a global table of old":      {&types.TableDescription{GlobalTableVersion: aws.String("2017.11.29")}, nil, ErrGlobal},
		"a table nobody can look at": {nil, down, down},
	} {
		s := &Store{Table: "keyrot", API: API{DescribeTable: func(context.Context, *ddb.DescribeTableInput, ...func(*ddb.Options)) (*ddb.DescribeTableOutput, error) {
			return &ddb.DescribeTableOutput{Table: c.table}, c.fail
		}}}
		err := s.Single(t.Context())
		if !errors.Is(err, c.want) || c.want == nil && err != nil || errors.Is(err, ErrGlobal) && hint.Of(err) == "" {
			t.Errorf("%s: Single() = %v, want %v", name, err, c.want)
		}
	}
}

// A restored table has lost both.
func TestDescribe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status    types.TimeToLiveStatus
		attribute string
		backups   types.PointInTimeRecoveryStatus
		want      Description
	}{
		"as deployed":                   {"ENABLED", "expires", "ENABLED", Description{true, true}},
		"restored":                      {"DISABLED", "", "DISABLED", Description{}},
		"time to live of another field": {"ENABLED", "ttl", "ENABLED", Description{false, true}},
	} {
		s := &Store{Table: "keyrot", API: API{
			DescribeTimeToLive: func(context.Context, *ddb.DescribeTimeToLiveInput, ...func(*ddb.Options)) (*ddb.DescribeTimeToLiveOutput, error) {
				return &ddb.DescribeTimeToLiveOutput{TimeToLiveDescription: &types.TimeToLiveDescription{TimeToLiveStatus: c.status, AttributeName: &c.attribute}}, nil
			},
			DescribeContinuousBackups: func(context.Context, *ddb.DescribeContinuousBackupsInput, ...func(*ddb.Options)) (*ddb.DescribeContinuousBackupsOutput, error) {
				return &ddb.DescribeContinuousBackupsOutput{ContinuousBackupsDescription: &types.ContinuousBackupsDescription{
					PointInTimeRecoveryDescription: &types.PointInTimeRecoveryDescription{PointInTimeRecoveryStatus: c.backups},
				}}, nil
			},
		}}
		if got, err := s.Describe(t.Context()); err != nil || got != c.want {
			t.Errorf("%s: Describe() = %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}
