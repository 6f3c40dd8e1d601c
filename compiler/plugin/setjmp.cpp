// SPDX-License-Identifier: GPL-2.0-only OR MIT
// setjmp() and longjmp() without native registers, so that the frames between them, and below, can move.
//
// longjmp() names an activation and one of its setjmp()s, sets the thread unwinding, and returns. Every frame returns
// at once, as it does when it is captured, until the one that is meant finds its name. It then goes on behind its
// setjmp(), with the values that setjmp() left in the activation's frame on the shadow stack. The address of
// that frame is the activation's name: no two that are active share it, and it doesn't change when they move.
//
// A signal handler can't return to the frame that is meant: what it has interrupted doesn't test anything. For its sake
// the frame has a landing, native registers that setjmp() keeps and that are the way to the same place; see
// compiler/rt/jump.c. A function with a setjmp() needs one also if nothing that it calls may move.
//
// The optimizer has been told before that setjmp() returns twice, so it kept no value in a register that C doesn't
// allow to be lost.

#include "popcorn.h"

#include "llvm/Transforms/Utils/BasicBlockUtils.h"

namespace popcorn {

static const char MarkerName[] = "popcorn.jump.caught";

static StringRef calledName(const CallBase &CB)
{
	auto *F = dyn_cast<Function>(CB.getCalledOperand()->stripPointerCastsAndAliases());

	return F ? F->getName() : StringRef();
}

bool isSetjmp(const CallBase &CB)
{
	return CB.arg_size() == 1 && is_contained({"setjmp", "_setjmp"}, calledName(CB));
}

bool callsSetjmp(const Function &F)
{
	return any_of(instructions(F), [](const Instruction &I) {
		auto *CB = dyn_cast<CallBase>(&I);
		return CB && isSetjmp(*CB);
	});
}

bool isLanding(const CallBase &CB)
{
	return calledName(CB) == "__popcorn_land";
}

// sigsetjmp() is a setjmp() and then a function of the runtime, which deals with the signal mask at each return.
void splitSigsetjmp(Module &M, Runtime &RT)
{
	SmallVector<CallInst *> Calls;

	for (Function &F : M)
		for (Instruction &I : instructions(F))
			if (auto *Call = dyn_cast<CallInst>(&I); Call && Call->arg_size() == 2 &&
			    is_contained({"sigsetjmp", "__sigsetjmp"}, calledName(*Call)))
				Calls.push_back(Call);
	for (CallInst *Call : Calls) {
		IRBuilder<> B(Call);
		Value *Buffer = Call->getArgOperand(0), *Save = Call->getArgOperand(1);
		FunctionCallee Setjmp = M.getOrInsertFunction("setjmp", B.getInt32Ty(), RT.Ptr);
		FunctionCallee Mask = M.getOrInsertFunction("__popcorn_sigsetjmp", B.getInt32Ty(), RT.Ptr,
							    B.getInt32Ty(), B.getInt32Ty());
		CallInst *First = B.CreateCall(Setjmp, {Buffer});

		First->setCanReturnTwice();
		Call->replaceAllUsesWith(B.CreateCall(Mask, {Buffer, Save, First}));
		Call->eraseFromParent();
	}
}

bool isJumpMarker(const CallBase &CB)
{
	return calledName(CB) == MarkerName;
}

// The site is the last in its block, which ends in the branch on the marker.
CallInst *jumpMarker(const CallInst &Site)
{
	auto *Branch = dyn_cast<BranchInst>(Site.getParent()->getTerminator());
	auto *Call = Branch && Branch->isConditional() ? dyn_cast<CallInst>(Branch->getCondition()) : nullptr;

	return Call && isJumpMarker(*Call) ? Call : nullptr;
}

// The marker and the branch on it become: if this frame is meant, to the setjmp(), otherwise to Else.
void expandJumpMarker(CallInst &Marker, IRBuilderBase &B, BasicBlock *Else, Runtime &RT)
{
	auto *Branch = cast<BranchInst>(Marker.getParent()->getTerminator());
	Value *Jumps = B.CreateICmpEQ(RT.load(B, Unwinding), B.getInt32(Jumping));
	Value *Meant = B.CreateICmpEQ(RT.load(B, JumpFrame), Marker.getArgOperand(0));

	B.CreateCondBr(B.CreateAnd(Jumps, Meant), Branch->getSuccessor(0), Else);
}

namespace {

class SetjmpLowering {
public:
	SetjmpLowering(Function &F, const MayMove &May, Runtime &RT) : F(F), May(May), RT(RT) {}
	bool run();

private:
	void lowerOne(unsigned N);
	void markSite(CallInst &Call);
	void repair();

	Function &F;
	const MayMove &May;
	Runtime &RT;
	SmallVector<Site> Setjmps;
	SmallVector<uint64_t> Pointer;	// where each keeps the shadow pointer
	AllocaInst *Frame = nullptr;
	BasicBlock *Catch = nullptr;
	SwitchInst *Which = nullptr;
	SmallVector<std::pair<Instruction *, Instruction *>> Reloads;	// a value and what stands for it after a jump
};

void SetjmpLowering::lowerOne(unsigned N)
{
	Site &S = Setjmps[N];
	CallInst *Call = S.Call;
	Value *Buffer = Call->getArgOperand(0);
	BasicBlock *Behind = BasicBlock::Create(RT.C, "longjmp", &F);
	BasicBlock *From = Call->getParent();
	BasicBlock *To = From->splitBasicBlock(Call->getIterator(), "setjmp");
	BasicBlock *First = BasicBlock::Create(RT.C, "landed", &F, To);
	IRBuilder<> A(From->getTerminator()), B(First), L(Behind);
	auto slot = [&](IRBuilderBase &At, uint64_t Offset) {
		return At.CreateConstInBoundsGEP1_64(RT.I8, Frame, Offset);
	};

	for (IRBuilder<> *Each : {&A, &B, &L})
		Each->SetCurrentDebugLocation(Call->getDebugLoc());
	A.CreateStore(RT.load(A, PinWhy), slot(A, LandingPinWhy));
	A.CreateStore(RT.load(A, Pins), slot(A, LandingPins));
	Value *Back = A.CreateICmpNE(RT.land(A, Frame), A.getInt32(0));
	A.CreateCondBr(Back, Catch, First, RT.unlikely());
	From->getTerminator()->eraseFromParent();

	B.CreateStore(Frame, B.CreateConstInBoundsGEP1_64(RT.I8, Buffer, JumpBufFrame));
	B.CreateStore(B.getInt32(N), B.CreateConstInBoundsGEP1_64(RT.I8, Buffer, JumpBufSite));
	// The shadow pointer first: locals of variable size may have been made since.
	B.CreateStore(RT.load(B, ShadowPointer), slot(B, Pointer[N]));
	RT.store(L, L.CreateLoad(RT.Ptr, slot(L, Pointer[N])), ShadowPointer);
	RT.store(L, L.getInt32(Runs), Unwinding);
	for (auto [V, Offset] : zip(S.Live, S.Offset)) {
		Align A = slotAlign(V->getType(), RT.DL);

		B.CreateAlignedStore(V, slot(B, Offset), A);
		Reloads.push_back({cast<Instruction>(V),
				   L.CreateAlignedLoad(V->getType(), slot(L, Offset), A, V->getName())});
	}
	Value *Returned = L.CreateTrunc(RT.load(L, JumpValue), Call->getType());

	PHINode *Result = PHINode::Create(Call->getType(), 2, "", To->begin());
	Result->addIncoming(ConstantInt::get(Call->getType(), 0), First);
	Result->addIncoming(Returned, Behind);
	B.CreateBr(To);
	L.CreateBr(To);
	Which->addCase(L.getInt32(N), Behind);
	for (Site &Other : Setjmps)
		std::replace(Other.Live.begin(), Other.Live.end(), (Value *)Call, (Value *)Result);
	for (auto &[V, Reload] : Reloads)
		if (V == Call)
			V = Result;
	Call->replaceAllUsesWith(Result);
	Call->eraseFromParent();
}

void SetjmpLowering::markSite(CallInst &Call)
{
	BasicBlock *Next = Call.getParent()->splitBasicBlock(std::next(Call.getIterator()));
	Instruction *End = Call.getParent()->getTerminator();
	IRBuilder<> B(End);

	B.SetCurrentDebugLocation(Call.getDebugLoc());
	FunctionCallee Marker = RT.M.getOrInsertFunction(MarkerName, B.getInt1Ty(), RT.Ptr);
	B.CreateCondBr(B.CreateCall(Marker, {Frame}), Catch, Next, RT.unlikely());
	End->eraseFromParent();
}

// After a jump the values stand in what was reloaded, so each use may have several definitions now.
void SetjmpLowering::repair()
{
	Definitions Defs(F);

	for (auto [V, Reload] : Reloads)
		Defs.add(V, Reload, Reload->getParent()->getTerminator());
	Defs.resolve();
}

bool SetjmpLowering::run()
{
	SmallVector<CallInst *> Sites;
	uint64_t Bytes = LandingBytes;

	for (Instruction &I : instructions(F))
		if (auto *Call = dyn_cast<CallInst>(&I)) {
			if (isSetjmp(*Call))
				Setjmps.push_back({Call, {}, {}, 0});
			else if (May.isSite(*Call) && !Call->isMustTailCall())
				Sites.push_back(Call);
		}
	if (Setjmps.empty())
		return false;

	copyArguments(F);
	findLive(F, Setjmps);
	for (Site &S : Setjmps) {
		erase_if(S.Live, [](Value *V) {
			auto *A = dyn_cast<AllocaInst>(V);
			return (A && A->isStaticAlloca()) || isa<Argument>(V);
		});
		Pointer.push_back(Bytes);
		layOut(S, Bytes + RT.DL.getPointerSize(), RT.DL);
		Bytes = S.Bytes;
	}
	Frame = new AllocaInst(ArrayType::get(RT.I8, Bytes), 0, nullptr, Align(16), "setjmp.frame",
			       F.getEntryBlock().begin());

	BasicBlock *None = BasicBlock::Create(RT.C, "nowhere", &F);
	new UnreachableInst(RT.C, None);
	Catch = BasicBlock::Create(RT.C, "caught", &F);
	IRBuilder<> B(Catch);
	Which = B.CreateSwitch(RT.load(B, JumpSite), None, Setjmps.size());
	for (unsigned N = 0; N < Setjmps.size(); N++)
		lowerOne(N);
	for (CallInst *Call : Sites)
		markSite(*Call);
	repair();
	F.removeFnAttr(Attribute::ReturnsTwice);
	return true;
}

} // namespace

bool lowerSetjmp(Function &F, const MayMove &May, Runtime &RT)
{
	return SetjmpLowering(F, May, RT).run();
}

} // namespace popcorn
