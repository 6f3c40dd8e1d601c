// SPDX-License-Identifier: GPL-2.0-only OR MIT
// What a frame must keep while it stands at a site: values defined before it and used after it.
//
// The usual backward data flow over blocks, on bit vectors. Most values never leave their block, so only those that
// do are numbered; within a block a scan from its end finds the rest.

#include "popcorn.h"

#include "llvm/ADT/PostOrderIterator.h"
#include "llvm/IR/CFG.h"

namespace popcorn {

namespace {

class Liveness {
public:
	explicit Liveness(Function &F);
	void at(BasicBlock &BB, ArrayRef<Site *> Sites);

private:
	static bool isTracked(const Value *V) { return isa<Instruction>(V) || isa<Argument>(V); }
	void number(Value *V) { Number.try_emplace(V, Number.size()); }

	struct Block {
		BitVector In, Out, Use, Def;
	};
	DenseMap<const BasicBlock *, Block> Blocks;
	DenseMap<Value *, unsigned> Number;	// of values that are used outside their block
	DenseMap<const Value *, unsigned> Order;
	SmallVector<Value *> ByNumber;
};

Liveness::Liveness(Function &F)
{
	unsigned Next = 0;

	for (Argument &A : F.args()) {
		Order[&A] = Next++;
		number(&A);
	}
	for (Instruction &I : instructions(F)) {
		Order[&I] = Next++;
		if (any_of(I.users(), [&](User *U) {
			    return isa<PHINode>(U) || cast<Instruction>(U)->getParent() != I.getParent();
		    }))
			number(&I);
	}
	ByNumber.resize(Number.size());
	for (auto [V, N] : Number)
		ByNumber[N] = V;

	for (BasicBlock &BB : F) {
		Block &B = Blocks[&BB];

		for (BitVector *Bits : {&B.In, &B.Out, &B.Use, &B.Def})
			Bits->resize(Number.size());
		for (Instruction &I : BB) {
			if (!isa<PHINode>(I))
				for (Value *V : I.operands())
					if (auto N = Number.find(V); N != Number.end() && !B.Def.test(N->second))
						B.Use.set(N->second);
			if (auto N = Number.find(&I); N != Number.end())
				B.Def.set(N->second);
		}
	}

	SmallVector<BasicBlock *> PostOrder(post_order(&F));
	for (bool Changed = true; Changed;) {
		Changed = false;
		for (BasicBlock *BB : PostOrder) {
			Block &B = Blocks[BB];
			BitVector Out(Number.size());

			for (BasicBlock *S : successors(BB)) {
				Out |= Blocks[S].In;
				for (PHINode &P : S->phis())
					if (auto N = Number.find(P.getIncomingValueForBlock(BB)); N != Number.end())
						Out.set(N->second);
			}
			BitVector In = Out;
			In.reset(B.Def);
			In |= B.Use;
			Changed |= In != B.In;
			B.Out = std::move(Out);
			B.In = std::move(In);
		}
	}
}

// Sites are those of one block, in its order.
void Liveness::at(BasicBlock &BB, ArrayRef<Site *> Sites)
{
	DenseSet<Value *> Live;
	Site *const *S = Sites.end();

	for (unsigned N : Blocks[&BB].Out.set_bits())
		Live.insert(ByNumber[N]);
	for (Instruction &I : reverse(BB)) {
		Live.erase(&I);
		if (S != Sites.begin() && S[-1]->Call == &I) {
			S--;
			(*S)->Live.assign(Live.begin(), Live.end());
			sort((*S)->Live, [&](Value *A, Value *B) { return Order[A] < Order[B]; });
			if (S == Sites.begin())
				return;
		}
		if (!isa<PHINode>(I))
			for (Value *V : I.operands())
				if (isTracked(V))
					Live.insert(V);
	}
}

} // namespace

void findLive(Function &F, MutableArrayRef<Site> Sites)
{
	DenseMap<BasicBlock *, SmallVector<Site *, 4>> ByBlock;

	if (Sites.empty())
		return;
	Liveness L(F);
	for (Site &S : Sites)
		ByBlock[S.Call->getParent()].push_back(&S);
	for (auto &[BB, InBlock] : ByBlock) {
		sort(InBlock, [](Site *A, Site *B) { return A->Call->comesBefore(B->Call); });
		L.at(*BB, InBlock);
	}
}

Align slotAlign(Type *T, const DataLayout &DL)
{
	return std::min(DL.getABITypeAlign(T), Align(16));
}

void layOut(Site &S, uint64_t Start, const DataLayout &DL)
{
	S.Bytes = Start;
	for (Value *V : S.Live) {
		S.Bytes = alignTo(S.Bytes, slotAlign(V->getType(), DL));
		S.Offset.push_back(S.Bytes);
		S.Bytes += DL.getTypeStoreSize(V->getType());
	}
	S.Bytes = alignTo(S.Bytes, 16);
}

} // namespace popcorn
