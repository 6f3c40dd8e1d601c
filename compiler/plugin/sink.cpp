// SPDX-License-Identifier: GPL-2.0-only OR MIT
// The optimizer calculates addresses early, before loops and switches; at a site each is a value to keep. Those at a
// constant distance from another address are calculated where they are used instead: there they cost nothing, as loads
// and stores add a constant anyway. In large functions nearly all that is live is of this kind.

#include "popcorn.h"

#include "llvm/Transforms/Utils/Local.h"

namespace popcorn {

static bool isConstant(const Value *V)
{
	auto *G = dyn_cast<GetElementPtrInst>(V);

	return G && G->hasAllConstantIndices() && !G->getType()->isVectorTy();
}

// The pointer that V is at a constant distance from.
static Value *baseOf(Value *V, APInt &Distance, bool &InBounds, const DataLayout &DL)
{
	for (; isConstant(V); V = cast<GetElementPtrInst>(V)->getPointerOperand()) {
		auto *G = cast<GetElementPtrInst>(V);

		G->accumulateConstantOffset(DL, Distance);
		InBounds &= G->isInBounds();
	}
	return V;
}

void sinkAddresses(Function &F)
{
	const DataLayout &DL = F.getParent()->getDataLayout();
	SmallVector<GetElementPtrInst *> Addresses;
	SmallVector<WeakTrackingVH> Dead;

	for (Instruction &I : instructions(F))
		if (isConstant(&I))
			Addresses.push_back(cast<GetElementPtrInst>(&I));
	for (GetElementPtrInst *G : Addresses) {
		APInt Distance(DL.getIndexTypeSizeInBits(G->getType()), 0);
		bool InBounds = true;
		Value *Base = baseOf(G, Distance, InBounds, DL);
		SmallVector<Use *> Uses;

		for (Use &U : G->uses())
			if (!isConstant(U.getUser()))	// those begin at the base themselves
				Uses.push_back(&U);
		for (Use *U : Uses) {
			if (U->get() != G)
				continue;
			auto *Phi = dyn_cast<PHINode>(U->getUser());
			BasicBlock *From = Phi ? Phi->getIncomingBlock(*U) : nullptr;
			IRBuilder<> B(From ? From->getTerminator() : cast<Instruction>(U->getUser()));
			B.SetCurrentDebugLocation(G->getDebugLoc());
			Value *To = B.getInt(Distance);
			To = InBounds ? B.CreateInBoundsPtrAdd(Base, To) : B.CreatePtrAdd(Base, To);
			if (Phi)	// a switch may come from one block in several ways
				Phi->setIncomingValueForBlock(From, To);
			else
				U->set(To);
		}
		Dead.push_back(G);
	}
	RecursivelyDeleteTriviallyDeadInstructionsPermissive(Dead);
}

} // namespace popcorn
