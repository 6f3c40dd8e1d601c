// SPDX-License-Identifier: GPL-2.0-only OR MIT
// The native stack stays behind when a thread moves. Locals that must be found again, at the same address, are placed
// on a second stack in common memory instead: the shadow stack.
//
// Invariants:
//   - The thread's shadow pointer is at or below everything that lives on the shadow stack, between any two
//     instructions: a signal handler starts its own frames there. So it is lowered before the frame is first
//     touched and raised after it was last touched; fences that only the compiler sees keep both in order.
//   - It is never below the stack's end.
//   - A function that returns the usual way leaves it as it was. One that returns in order to be captured, or because of
//     a longjmp(), leaves it alone: the runtime keeps what it was at the point, setjmp() what it was there.

#include "popcorn.h"

#include "llvm/Analysis/StackLifetime.h"
#include "llvm/IR/DIBuilder.h"
#include "llvm/IR/DebugInfo.h"
#include "llvm/Transforms/Utils/BasicBlockUtils.h"
#include "llvm/Transforms/Utils/Local.h"

namespace popcorn {

static constexpr uint64_t StackAlign = 16;

namespace {

class ShadowFrame {
public:
	ShadowFrame(Function &F, Runtime &RT) : F(F), RT(RT), DIB(RT.M, false) {}
	bool run(ArrayRef<CallInst *> Sites);

private:
	void choose(ArrayRef<CallInst *> Sites);
	void layOut();
	void enter();
	void leave();
	void replaceStatic(AllocaInst &A);
	void replaceDynamic(AllocaInst &A);
	void replaceSaveAndRestore();
	void checkRoom(Value *Enough, Instruction *Before);
	void dropLifetime(AllocaInst &A);
	void describe(AllocaInst &A);

	Function &F;
	Runtime &RT;
	DIBuilder DIB;
	SmallVector<AllocaInst *> Static, Dynamic;
	DenseMap<AllocaInst *, uint64_t> Offset;
	uint64_t Bytes = 0;
	Align MaxAlign = Align(StackAlign);
	Value *Old = nullptr, *New = nullptr;
	Instruction *Entered = nullptr;		// behind which New is the thread's
};

// Whether a pointer into a local, or a number made of one, is kept across a site: it would point into a native stack.
bool isAddressLive(AllocaInst &A, const DenseSet<Value *> &Live)
{
	SmallVector<Value *> Work{&A};
	DenseSet<Value *> Seen;

	while (!Work.empty()) {
		Value *V = Work.pop_back_val();

		if (!Seen.insert(V).second)
			continue;
		if (V != &A && Live.contains(V))
			return true;
		for (User *U : V->users()) {
			auto *I = cast<Instruction>(U);
			bool Access = isa<LoadInst>(I) || isa<StoreInst>(I) || isa<ICmpInst>(I) ||
				      isa<AtomicRMWInst>(I) || isa<AtomicCmpXchgInst>(I);

			if (!I->getType()->isVoidTy() && !Access)
				Work.push_back(I);
		}
	}
	return false;
}

void ShadowFrame::choose(ArrayRef<CallInst *> Sites)
{
	SmallVector<Site> At;
	SmallVector<const AllocaInst *> Candidates;
	DenseSet<Value *> Live;

	for (CallInst *Call : Sites)
		At.push_back({Call, {}, {}, 0});
	findLive(F, At);
	for (Site &S : At)
		Live.insert(S.Live.begin(), S.Live.end());
	for (Instruction &I : instructions(F))
		if (auto *A = dyn_cast<AllocaInst>(&I)) {
			if (A->isStaticAlloca())
				Candidates.push_back(A);
			else
				Dynamic.push_back(A);
		}

	StackLifetime Lifetime(F, Candidates, StackLifetime::LivenessType::May);
	Lifetime.run();
	for (const AllocaInst *C : Candidates) {
		auto *A = const_cast<AllocaInst *>(C);

		if (any_of(Sites, [&](CallInst *S) {
			    return Lifetime.isReachable(S) && Lifetime.isAliveAfter(A, S);
		    }) || isAddressLive(*A, Live))
			Static.push_back(A);
	}
}

void ShadowFrame::layOut()
{
	stable_sort(Static, [](AllocaInst *A, AllocaInst *B) { return A->getAlign() > B->getAlign(); });
	for (AllocaInst *A : Static) {
		Bytes = alignTo(Bytes, A->getAlign());
		Offset[A] = Bytes;
		Bytes += A->getAllocationSize(RT.DL)->getFixedValue();
		MaxAlign = std::max(MaxAlign, A->getAlign());
	}
	Bytes = alignTo(Bytes, std::max(MaxAlign, Align(StackAlign)));
}

static DebugLoc lineZero(Function &F)
{
	if (DISubprogram *SP = F.getSubprogram())
		return DILocation::get(F.getContext(), 0, 0, SP);
	return DebugLoc();
}

void ShadowFrame::checkRoom(Value *Short, Instruction *Before)
{
	Instruction *Then = SplitBlockAndInsertIfThen(Short, Before->getIterator(), true, RT.unlikely());
	IRBuilder<> B(Then);

	B.SetCurrentDebugLocation(Before->getDebugLoc() ? Before->getDebugLoc() : lineZero(F));
	RT.overflow(B);
}

static void orderForSignals(IRBuilderBase &B)
{
	B.CreateFence(AtomicOrdering::SequentiallyConsistent, SyncScope::SingleThread);
}

void ShadowFrame::enter()
{
	Instruction *First = &*F.getEntryBlock().getFirstNonPHIOrDbgOrAlloca();
	IRBuilder<> B(First);

	B.SetCurrentDebugLocation(lineZero(F));
	Old = RT.load(B, ShadowPointer, "shadow.old");
	New = B.CreateInBoundsGEP(RT.I8, Old, ConstantInt::getSigned(RT.I64, -(int64_t)Bytes), "shadow");
	if (MaxAlign > StackAlign)
		New = B.CreateIntrinsic(Intrinsic::ptrmask, {RT.Ptr, RT.I64},
					{New, ConstantInt::getSigned(RT.I64, -(int64_t)MaxAlign.value())});
	Value *Short = B.CreateICmpULT(New, RT.load(B, ShadowEnd));
	checkRoom(Short, First);
	B.SetInsertPoint(First);
	B.SetCurrentDebugLocation(lineZero(F));
	RT.store(B, New, ShadowPointer);
	Entered = B.CreateFence(AtomicOrdering::SequentiallyConsistent, SyncScope::SingleThread);
}

void ShadowFrame::leave()
{
	for (BasicBlock &BB : F) {
		auto *Ret = dyn_cast<ReturnInst>(BB.getTerminator());
		if (!Ret)
			continue;
		Instruction *Before = Ret;
		if (CallInst *Tail = BB.getTerminatingMustTailCall())
			Before = Tail;
		IRBuilder<> B(Before);
		orderForSignals(B);
		// Without odd alignments or sizes the old value follows from the new: one value less to keep.
		Value *Back = MaxAlign > StackAlign ? Old : B.CreateConstInBoundsGEP1_64(RT.I8, New, Bytes);
		RT.store(B, Back, ShadowPointer);
	}
}

void ShadowFrame::dropLifetime(AllocaInst &A)
{
	SmallVector<Instruction *> Dead;
	SmallVector<Value *> Work{&A};

	while (!Work.empty())
		for (User *U : Work.pop_back_val()->users()) {
			if (auto *II = dyn_cast<IntrinsicInst>(U); II && II->isLifetimeStartOrEnd())
				Dead.push_back(II);
			else if (isa<GetElementPtrInst>(U) || isa<BitCastInst>(U))
				Work.push_back(U);
		}
	for (Instruction *I : Dead)
		I->eraseFromParent();
}

// Declarations are for locals on the native stack: code generation drops all others. So the variable is said to have a
// value, which is in memory.
void ShadowFrame::describe(AllocaInst &A)
{
	for (DbgVariableRecord *D : findDVRDeclares(&A)) {
		DIExpression *Where = DIExpression::prepend(D->getExpression(), DIExpression::DerefAfter, Offset[&A]);
		DbgVariableRecord *R = DbgVariableRecord::createDbgVariableRecord(New, D->getVariable(), Where,
										  D->getDebugLoc());
		Entered->getParent()->insertDbgRecordAfter(R, Entered);
		D->eraseFromParent();
	}
}

// Each use computes its address from the frame's: so only that is ever live across a site.
void ShadowFrame::replaceStatic(AllocaInst &A)
{
	SmallVector<Use *> Uses;

	dropLifetime(A);
	for (Use &U : A.uses())
		Uses.push_back(&U);
	for (Use *U : Uses) {
		auto *I = cast<Instruction>(U->getUser());
		auto *Phi = dyn_cast<PHINode>(I);

		if (U->get() != &A)	// a PHI with several edges from one block, done with the first
			continue;
		IRBuilder<> B(Phi ? Phi->getIncomingBlock(*U)->getTerminator() : I);
		Value *Address = B.CreateConstInBoundsGEP1_64(RT.I8, New, Offset[&A], A.getName());
		if (!Phi) {
			U->set(Address);
			continue;
		}
		BasicBlock *From = Phi->getIncomingBlock(*U);
		for (unsigned N = 0; N < Phi->getNumIncomingValues(); N++)
			if (Phi->getIncomingBlock(N) == From && Phi->getIncomingValue(N) == &A)
				Phi->setIncomingValue(N, Address);
	}
	describe(A);
	replaceDbgValueForAlloca(&A, New, DIB, Offset[&A]);
	A.eraseFromParent();
}

void ShadowFrame::replaceDynamic(AllocaInst &A)
{
	IRBuilder<> B(&A);
	uint64_t Unit = RT.DL.getTypeAllocSize(A.getAllocatedType());
	Align Al = std::max(A.getAlign(), Align(StackAlign));

	dropLifetime(A);
	Value *Size = B.CreateMul(B.CreateZExtOrTrunc(A.getArraySize(), RT.I64), B.getInt64(Unit));
	Value *Top = RT.load(B, ShadowPointer);
	Value *Address = B.CreatePtrToInt(Top, RT.I64);
	Value *Room = B.CreateSub(Address, B.CreatePtrToInt(RT.load(B, ShadowEnd), RT.I64));
	// Rounding down takes less than the alignment; both parts apart, so that no size wraps around.
	Value *Slack = B.getInt64(Al.value());
	Value *Short = B.CreateOr(B.CreateICmpULT(Room, Slack),
				  B.CreateICmpUGT(Size, B.CreateSub(Room, Slack)));
	checkRoom(Short, &A);
	B.SetInsertPoint(&A);
	Value *P = B.CreateGEP(RT.I8, Top, B.CreateNeg(Size));
	P = B.CreateIntrinsic(Intrinsic::ptrmask, {RT.Ptr, RT.I64},
			      {P, ConstantInt::getSigned(RT.I64, -(int64_t)Al.value())});
	RT.store(B, P, ShadowPointer);
	orderForSignals(B);
	P->takeName(&A);
	A.replaceAllUsesWith(P);
	A.eraseFromParent();
}

// Only dynamic locals need the pair, and all of these are here. Without any, what is left of it would keep a native
// address.
void ShadowFrame::replaceSaveAndRestore()
{
	for (Instruction &I : make_early_inc_range(instructions(F))) {
		auto *II = dyn_cast<IntrinsicInst>(&I);
		if (!II)
			continue;
		IRBuilder<> B(II);
		if (II->getIntrinsicID() == Intrinsic::stacksave) {
			II->replaceAllUsesWith(Dynamic.empty() ? (Value *)ConstantPointerNull::get(RT.Ptr)
							       : RT.load(B, ShadowPointer));
		} else if (II->getIntrinsicID() == Intrinsic::stackrestore) {
			if (!Dynamic.empty()) {
				orderForSignals(B);
				RT.store(B, II->getArgOperand(0), ShadowPointer);
			}
		} else {
			continue;
		}
		II->eraseFromParent();
	}
}

bool ShadowFrame::run(ArrayRef<CallInst *> Sites)
{
	choose(Sites);
	if (Dynamic.empty())
		replaceSaveAndRestore();
	if (Static.empty() && Dynamic.empty())
		return false;
	layOut();
	enter();
	// Before the static ones: their sizes may be read from static locals.
	if (!Dynamic.empty()) {
		replaceSaveAndRestore();
		for (AllocaInst *A : Dynamic)
			replaceDynamic(*A);
	}
	leave();
	for (AllocaInst *A : Static)
		replaceStatic(*A);
	return true;
}

} // namespace

bool moveLocals(Function &F, ArrayRef<CallInst *> Sites, Runtime &RT)
{
	return ShadowFrame(F, RT).run(Sites);
}

} // namespace popcorn
