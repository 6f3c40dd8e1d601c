// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Innermost loops at no cost a round: where a counter is compared with a bound, the loop is run towards a nearer
// bound first, and a loop around it moves that bound on until the real one is reached. The inner loop stays as it was,
// ready to be unrolled or vectorized.
//
//	header:                              around:  [phis of header]
//	  ...                                         near = the bound, or 4096 steps on if that is nearer
//	  i' = i + step                      header:
//	  if (i' < bound) goto header          ...
//	                                       i' = i + step
//	                                       if (i' < near) goto header
//	                                     again:
//	                                       if (!(i' < bound)) leave
//	                                       point
//	                                       goto around
//
// What must hold: whoever stays in the inner loop would have stayed in the old one. For comparisons by order it
// follows from near not being beyond the bound, whatever the additions do. For equality near must be met exactly.

#include "popcorn.h"

#include "llvm/Analysis/LoopInfo.h"
#include "llvm/Analysis/ScalarEvolution.h"
#include "llvm/Analysis/ScalarEvolutionExpressions.h"
#include "llvm/Transforms/Utils/Cloning.h"

namespace popcorn {

bool isCounted(Loop &L, ScalarEvolution &SE, CountedLoop &C)
{
	C.Header = L.getHeader();
	C.Latch = L.getLoopLatch();
	C.Preheader = L.getLoopPreheader();
	if (!C.Latch || !C.Preheader)
		return false;
	auto *Branch = dyn_cast<BranchInst>(C.Latch->getTerminator());
	if (!Branch || !Branch->isConditional())
		return false;
	unsigned Leaving = L.contains(Branch->getSuccessor(0)) ? 1 : 0;
	C.Exit = Branch->getSuccessor(Leaving);
	C.Compare = dyn_cast<ICmpInst>(Branch->getCondition());
	if (L.contains(C.Exit) || !C.Compare || !C.Compare->hasOneUse() ||
	    !C.Compare->getOperand(0)->getType()->isIntegerTy())
		return false;
	ICmpInst::Predicate Stays = Leaving ? C.Compare->getPredicate() : C.Compare->getInversePredicate();
	if (Stays == ICmpInst::ICMP_EQ)
		return false;
	for (C.BoundOperand = 0; C.BoundOperand < 2; C.BoundOperand++) {
		Value *Counts = C.Compare->getOperand(!C.BoundOperand);
		auto *Rec = dyn_cast<SCEVAddRecExpr>(SE.getSCEV(Counts));

		if (!L.isLoopInvariant(C.Compare->getOperand(C.BoundOperand)) || !Rec || Rec->getLoop() != &L ||
		    !Rec->isAffine())
			continue;
		const SCEV *Step = Rec->getStepRecurrence(SE);
		C.Step = nullptr;
		if (Stays == ICmpInst::ICMP_NE) {
			if (!Step->isOne() && !Step->isAllOnesValue())
				continue;
			C.Down = Step->isAllOnesValue();
		} else {
			C.Down = ICmpInst::isGT(C.BoundOperand ? Stays : ICmpInst::getSwappedPredicate(Stays)) ||
				 ICmpInst::isGE(C.BoundOperand ? Stays : ICmpInst::getSwappedPredicate(Stays));
		}
		C.Counter = dyn_cast<PHINode>(Counts);
		C.ComparesNext = !C.Counter;
		if (!C.Counter)
			for (PHINode &P : C.Header->phis())
				if (P.getIncomingValueForBlock(C.Latch) == Counts)
					C.Counter = &P;
		if (!C.Counter || C.Counter->getParent() != C.Header)
			continue;
		if (Stays == ICmpInst::ICMP_NE)
			return true;
		auto *Add = dyn_cast<BinaryOperator>(C.Counter->getIncomingValueForBlock(C.Latch));
		if (!Add || Add->getOpcode() != Instruction::Add)
			continue;
		for (unsigned N = 0; N < 2; N++)
			if (Add->getOperand(N) == C.Counter && L.isLoopInvariant(Add->getOperand(!N))) {
				C.Step = Add->getOperand(!N);
				return true;
			}
	}
	return false;
}

static Value *nearBound(const CountedLoop &C, Value *Start, Value *Bound, unsigned Stride, IRBuilderBase &B)
{
	Type *T = Start->getType();

	if (C.Step) {
		Value *Far = B.CreateAdd(Start, B.CreateMul(C.Step, ConstantInt::get(T, Stride)));
		bool Signed = C.Compare->isSigned();
		Intrinsic::ID Nearer = C.Down ? (Signed ? Intrinsic::smax : Intrinsic::umax)
					      : (Signed ? Intrinsic::smin : Intrinsic::umin);

		return B.CreateBinaryIntrinsic(Nearer, Far, Bound);
	}
	// Distances modulo the width of the counter: right for every start and bound. A counter that is compared after its
	// step can be at the bound already: then it goes all the way round.
	Value *Less = ConstantInt::get(T, C.ComparesNext ? 1 : 0);
	Value *Left = C.Down ? B.CreateSub(Start, Bound) : B.CreateSub(Bound, Start);
	unsigned Bits = T->getIntegerBitWidth();
	uint64_t Most = Bits < 13 ? std::min<uint64_t>(Stride, 1ull << (Bits - 1)) : Stride;

	Left = B.CreateSub(Left, Less);
	Left = B.CreateBinaryIntrinsic(Intrinsic::umin, Left, ConstantInt::get(T, Most - 1));
	Left = B.CreateAdd(Left, Less);
	return C.Down ? B.CreateSub(Start, Left) : B.CreateAdd(Start, Left);
}

Value *areFew(const CountedLoop &C, unsigned Stride)
{
	IRBuilder<> B(C.Preheader->getTerminator());
	Value *Start = C.Counter->getIncomingValueForBlock(C.Preheader), *Bound = C.Compare->getOperand(C.BoundOperand);
	Type *T = Start->getType();

	if (C.Step) {
		Value *Far = B.CreateAdd(Start, B.CreateMul(C.Step, ConstantInt::get(T, Stride)));
		bool Signed = C.Compare->isSigned();

		return C.Down ? B.CreateICmp(Signed ? ICmpInst::ICMP_SLT : ICmpInst::ICMP_ULT, Far, Bound)
			      : B.CreateICmp(Signed ? ICmpInst::ICMP_SGT : ICmpInst::ICMP_UGT, Far, Bound);
	}
	if (T->getIntegerBitWidth() < 16)
		return B.getTrue();
	Value *Left = C.Down ? B.CreateSub(Start, Bound) : B.CreateSub(Bound, Start);
	return B.CreateICmpULE(Left, ConstantInt::get(T, Stride));
}

BasicBlock *copyForFew(BasicBlock *Header, BasicBlock *Preheader, ArrayRef<BasicBlock *> Blocks, Value *Few)
{
	Function &F = *Header->getParent();
	SmallPtrSet<BasicBlock *, 8> In(Blocks.begin(), Blocks.end()), Exits;
	ValueToValueMapTy Map;
	SmallVector<BasicBlock *> Copies;

	for (BasicBlock *BB : Blocks) {
		BasicBlock *Copy = CloneBasicBlock(BB, Map, ".few", &F);

		Copy->moveBefore(Header);
		Map[BB] = Copy;
		Copies.push_back(Copy);
	}
	remapInstructionsInBlocks(Copies, Map);
	for (BasicBlock *BB : Blocks)
		for (BasicBlock *Exit : successors(BB))
			if (!In.contains(Exit) && Exits.insert(Exit).second)
				for (PHINode &P : Exit->phis())
					for (unsigned N = 0, Count = P.getNumIncomingValues(); N < Count; N++) {
						Value *V = P.getIncomingValue(N);

						if (!In.contains(P.getIncomingBlock(N)))
							continue;
						if (auto Copy = Map.find(V); Copy != Map.end())
							V = Copy->second;
						P.addIncoming(V, cast<BasicBlock>(Map[P.getIncomingBlock(N)]));
					}

	BasicBlock *Many = BasicBlock::Create(F.getContext(), "many", &F, Header);
	Instruction *End = Preheader->getTerminator();
	IRBuilder<> B(End), M(Many);

	B.CreateCondBr(Few, cast<BasicBlock>(Map[Header]), Many);
	M.SetCurrentDebugLocation(End->getDebugLoc());
	M.CreateBr(Header);
	End->eraseFromParent();
	Header->replacePhiUsesWith(Preheader, Many);
	return Many;
}

void stripMine(const CountedLoop &C, unsigned Stride, Runtime &RT)
{
	Function &F = *C.Header->getParent();
	BasicBlock *Around = BasicBlock::Create(RT.C, "around", &F, C.Header);
	BasicBlock *Again = BasicBlock::Create(RT.C, "again", &F, C.Exit);
	BasicBlock *Point = BasicBlock::Create(RT.C, "between", &F, C.Exit);
	IRBuilder<> A(Around), E(Again), P(Point);
	Value *Bound = C.Compare->getOperand(C.BoundOperand);
	PHINode *Start = nullptr;
	Instruction *Branch = C.Latch->getTerminator();
	BasicBlock *PointEnd;

	for (IRBuilder<> *B : {&A, &E, &P})
		B->SetCurrentDebugLocation(Branch->getDebugLoc());
	Instruction *Edge = P.CreateBr(Around);
	addPoint(Edge, RT);
	PointEnd = Edge->getParent();
	for (PHINode &Inner : C.Header->phis()) {
		PHINode *Outer = A.CreatePHI(Inner.getType(), 2, Inner.getName());

		Outer->addIncoming(Inner.getIncomingValueForBlock(C.Preheader), C.Preheader);
		Outer->addIncoming(Inner.getIncomingValueForBlock(C.Latch), PointEnd);
		Inner.setIncomingValueForBlock(C.Preheader, Outer);
		if (&Inner == C.Counter)
			Start = Outer;
	}
	C.Header->replacePhiUsesWith(C.Preheader, Around);
	C.Preheader->getTerminator()->replaceSuccessorWith(C.Header, Around);
	// Off the common path: once before the loop, where a constant start makes it short, and at each point.
	PHINode *Near = A.CreatePHI(Start->getType(), 2, "near");
	IRBuilder<> Before(C.Preheader->getTerminator());
	Near->addIncoming(nearBound(C, Start->getIncomingValueForBlock(C.Preheader), Bound, Stride, Before),
			  C.Preheader);
	IRBuilder<> Later(PointEnd->getTerminator());
	Near->addIncoming(nearBound(C, Start->getIncomingValueForBlock(PointEnd), Bound, Stride, Later),
			  PointEnd);
	A.CreateBr(C.Header);

	// The old comparison, at the end of the outer loop.
	auto *Old = cast<ICmpInst>(C.Compare->clone());
	E.Insert(Old);
	C.Compare->setOperand(C.BoundOperand, Near);
	Branch->replaceSuccessorWith(C.Exit, Again);
	C.Exit->replacePhiUsesWith(C.Latch, Again);
	bool LeavesOnTrue = Branch->getSuccessor(0) == Again;
	E.CreateCondBr(Old, LeavesOnTrue ? C.Exit : Point, LeavesOnTrue ? Point : C.Exit);
}

} // namespace popcorn
